sitegen.data("words/135",{});
