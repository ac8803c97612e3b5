sitegen.data("words/9",{});
