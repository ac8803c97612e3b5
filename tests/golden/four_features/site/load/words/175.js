sitegen.data("words/175",{});
