sitegen.data("words/197",{});
