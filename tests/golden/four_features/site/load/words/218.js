sitegen.data("words/218",{});
