sitegen.data("words/32",{});
