sitegen.data("words/219",{});
