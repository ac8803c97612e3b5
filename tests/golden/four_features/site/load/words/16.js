sitegen.data("words/16",{});
