sitegen.data("words/3",{});
