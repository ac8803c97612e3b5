sitegen.data("words/63",{});
