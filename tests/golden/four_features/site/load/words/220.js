sitegen.data("words/220",{});
