sitegen.data("words/198",{});
