sitegen.data("words/67",{});
