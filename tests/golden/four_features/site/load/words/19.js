sitegen.data("words/19",{});
