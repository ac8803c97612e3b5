sitegen.data("words/166",{});
