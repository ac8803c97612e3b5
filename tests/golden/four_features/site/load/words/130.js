sitegen.data("words/130",{});
