sitegen.data("words/17",{});
