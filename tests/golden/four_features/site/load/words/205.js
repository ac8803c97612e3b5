sitegen.data("words/205",{});
