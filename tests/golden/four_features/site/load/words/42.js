sitegen.data("words/42",{});
