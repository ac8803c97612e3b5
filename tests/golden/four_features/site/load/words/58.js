sitegen.data("words/58",{});
