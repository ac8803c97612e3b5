sitegen.data("words/122",{});
