sitegen.data("words/184",{});
