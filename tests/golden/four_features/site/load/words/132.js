sitegen.data("words/132",{});
