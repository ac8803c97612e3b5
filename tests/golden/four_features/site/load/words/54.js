sitegen.data("words/54",{});
