sitegen.data("words/148",{});
