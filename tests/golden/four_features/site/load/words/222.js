sitegen.data("words/222",{});
