sitegen.data("words/210",{});
