sitegen.data("words/11",{});
