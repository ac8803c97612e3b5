sitegen.data("words/51",{});
