sitegen.data("words/60",{});
