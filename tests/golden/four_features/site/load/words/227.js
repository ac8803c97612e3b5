sitegen.data("words/227",{});
