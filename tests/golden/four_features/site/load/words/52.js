sitegen.data("words/52",{});
