sitegen.data("words/147",{});
