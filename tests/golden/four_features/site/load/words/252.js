sitegen.data("words/252",{});
