sitegen.data("words/20",{});
