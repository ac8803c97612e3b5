sitegen.data("words/83",{});
