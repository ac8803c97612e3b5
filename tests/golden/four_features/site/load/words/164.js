sitegen.data("words/164",{});
