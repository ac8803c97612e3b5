sitegen.data("words/221",{});
