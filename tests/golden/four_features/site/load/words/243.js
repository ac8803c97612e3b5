sitegen.data("words/243",{});
