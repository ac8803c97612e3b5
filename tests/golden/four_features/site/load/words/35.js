sitegen.data("words/35",{});
