sitegen.data("words/98",{});
