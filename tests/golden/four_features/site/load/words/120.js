sitegen.data("words/120",{});
