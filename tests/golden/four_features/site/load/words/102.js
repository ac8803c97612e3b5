sitegen.data("words/102",{});
