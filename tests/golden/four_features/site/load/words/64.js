sitegen.data("words/64",{});
