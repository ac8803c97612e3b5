sitegen.data("words/138",{});
