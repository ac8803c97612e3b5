sitegen.data("words/6",{});
