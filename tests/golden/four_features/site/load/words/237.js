sitegen.data("words/237",{});
