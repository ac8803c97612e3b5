sitegen.data("words/15",{});
