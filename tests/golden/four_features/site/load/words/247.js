sitegen.data("words/247",{});
