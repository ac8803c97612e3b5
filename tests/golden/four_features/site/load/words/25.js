sitegen.data("words/25",{});
