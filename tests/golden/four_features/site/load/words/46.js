sitegen.data("words/46",{});
