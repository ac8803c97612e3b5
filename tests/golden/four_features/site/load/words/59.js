sitegen.data("words/59",{});
