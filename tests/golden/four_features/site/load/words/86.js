sitegen.data("words/86",{});
