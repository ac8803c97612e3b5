sitegen.data("words/100",{});
