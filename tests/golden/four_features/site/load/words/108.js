sitegen.data("words/108",{});
