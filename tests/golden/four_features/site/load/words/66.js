sitegen.data("words/66",{});
