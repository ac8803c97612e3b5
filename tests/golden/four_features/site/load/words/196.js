sitegen.data("words/196",{});
