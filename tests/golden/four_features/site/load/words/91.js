sitegen.data("words/91",{});
