sitegen.data("words/41",{});
