sitegen.data("words/215",{});
