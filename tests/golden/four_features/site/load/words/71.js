sitegen.data("words/71",{});
