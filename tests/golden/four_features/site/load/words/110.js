sitegen.data("words/110",{});
