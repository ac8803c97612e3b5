sitegen.data("words/178",{});
