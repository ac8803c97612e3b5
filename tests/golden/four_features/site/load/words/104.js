sitegen.data("words/104",{});
