sitegen.data("words/118",{});
