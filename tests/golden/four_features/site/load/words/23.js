sitegen.data("words/23",{});
