sitegen.data("words/124",{});
