sitegen.data("words/121",{});
