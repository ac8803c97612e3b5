sitegen.data("words/49",{});
