sitegen.data("words/70",{});
