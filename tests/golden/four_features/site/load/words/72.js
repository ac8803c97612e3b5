sitegen.data("words/72",{});
