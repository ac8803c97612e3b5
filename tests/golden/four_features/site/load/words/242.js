sitegen.data("words/242",{});
