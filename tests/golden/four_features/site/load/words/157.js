sitegen.data("words/157",{});
