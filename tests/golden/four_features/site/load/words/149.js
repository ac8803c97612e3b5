sitegen.data("words/149",{});
