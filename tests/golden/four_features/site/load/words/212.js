sitegen.data("words/212",{});
