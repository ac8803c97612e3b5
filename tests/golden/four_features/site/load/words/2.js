sitegen.data("words/2",{});
