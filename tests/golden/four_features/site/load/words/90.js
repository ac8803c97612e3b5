sitegen.data("words/90",{});
