sitegen.data("words/155",{});
