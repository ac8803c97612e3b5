sitegen.data("words/8",{});
