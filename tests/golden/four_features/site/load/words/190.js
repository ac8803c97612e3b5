sitegen.data("words/190",{});
