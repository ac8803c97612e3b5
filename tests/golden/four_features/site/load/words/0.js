sitegen.data("words/0",{});
