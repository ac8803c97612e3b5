sitegen.data("words/134",{});
