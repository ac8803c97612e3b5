sitegen.data("words/79",{});
