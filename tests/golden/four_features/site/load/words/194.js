sitegen.data("words/194",{});
