sitegen.data("words/99",{});
