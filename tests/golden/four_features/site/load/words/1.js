sitegen.data("words/1",{});
