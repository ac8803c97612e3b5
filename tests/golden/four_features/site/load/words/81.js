sitegen.data("words/81",{});
