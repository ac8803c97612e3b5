sitegen.data("words/30",{});
