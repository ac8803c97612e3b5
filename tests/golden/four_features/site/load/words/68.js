sitegen.data("words/68",{});
