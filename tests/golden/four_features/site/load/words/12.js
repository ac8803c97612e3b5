sitegen.data("words/12",{});
