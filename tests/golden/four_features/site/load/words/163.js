sitegen.data("words/163",{});
