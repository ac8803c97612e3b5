sitegen.data("words/89",{});
