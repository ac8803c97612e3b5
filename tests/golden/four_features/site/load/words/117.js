sitegen.data("words/117",{});
