sitegen.data("words/14",{});
