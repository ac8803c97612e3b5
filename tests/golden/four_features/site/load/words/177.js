sitegen.data("words/177",{});
