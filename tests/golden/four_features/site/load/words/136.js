sitegen.data("words/136",{});
