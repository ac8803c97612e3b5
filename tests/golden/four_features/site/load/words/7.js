sitegen.data("words/7",{});
