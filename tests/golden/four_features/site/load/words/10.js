sitegen.data("words/10",{});
