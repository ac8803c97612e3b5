sitegen.data("words/182",{});
