sitegen.data("words/176",{});
