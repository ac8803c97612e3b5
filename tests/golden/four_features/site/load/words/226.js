sitegen.data("words/226",{});
