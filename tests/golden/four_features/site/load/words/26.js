sitegen.data("words/26",{});
