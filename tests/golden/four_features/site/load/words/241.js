sitegen.data("words/241",{});
