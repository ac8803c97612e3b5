sitegen.data("words/22",{});
