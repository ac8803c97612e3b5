sitegen.data("words/200",{});
