sitegen.data("words/186",{});
