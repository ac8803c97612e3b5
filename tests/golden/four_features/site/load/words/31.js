sitegen.data("words/31",{});
