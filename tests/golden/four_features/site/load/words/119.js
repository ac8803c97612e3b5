sitegen.data("words/119",{});
