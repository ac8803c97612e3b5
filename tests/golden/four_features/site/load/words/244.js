sitegen.data("words/244",{});
