sitegen.data("words/87",{});
