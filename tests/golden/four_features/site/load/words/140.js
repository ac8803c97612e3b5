sitegen.data("words/140",{});
