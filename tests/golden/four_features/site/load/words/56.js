sitegen.data("words/56",{});
