sitegen.data("words/74",{});
