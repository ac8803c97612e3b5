sitegen.data("words/246",{});
