sitegen.data("words/238",{});
