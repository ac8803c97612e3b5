sitegen.data("words/195",{});
