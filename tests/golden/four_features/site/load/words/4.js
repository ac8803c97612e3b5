sitegen.data("words/4",{});
