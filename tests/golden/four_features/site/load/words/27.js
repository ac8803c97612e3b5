sitegen.data("words/27",{});
