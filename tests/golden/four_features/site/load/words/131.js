sitegen.data("words/131",{});
