sitegen.data("words/151",{});
