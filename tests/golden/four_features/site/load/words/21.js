sitegen.data("words/21",{});
