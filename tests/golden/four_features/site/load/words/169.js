sitegen.data("words/169",{});
