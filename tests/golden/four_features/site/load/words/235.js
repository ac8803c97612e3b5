sitegen.data("words/235",{});
