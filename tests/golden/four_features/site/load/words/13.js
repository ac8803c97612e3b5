sitegen.data("words/13",{});
