sitegen.data("words/193",{});
