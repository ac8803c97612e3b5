sitegen.data("words/5",{});
