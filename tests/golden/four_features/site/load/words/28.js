sitegen.data("words/28",{});
