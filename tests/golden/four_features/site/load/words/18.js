sitegen.data("words/18",{});
