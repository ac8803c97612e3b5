sitegen.data("words/62",{});
