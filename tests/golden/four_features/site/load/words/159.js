sitegen.data("words/159",{});
