sitegen.data("words/153",{});
