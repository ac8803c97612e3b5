sitegen.data("words/150",{});
