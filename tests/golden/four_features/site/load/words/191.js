sitegen.data("words/191",{});
