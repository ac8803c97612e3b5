sitegen.data("words/103",{});
