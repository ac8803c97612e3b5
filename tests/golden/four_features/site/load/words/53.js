sitegen.data("words/53",{});
