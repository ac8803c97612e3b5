sitegen.data("words/107",{});
