sitegen.data("words/48",{});
