sitegen.data("words/133",{});
