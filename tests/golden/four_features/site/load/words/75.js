sitegen.data("words/75",{});
