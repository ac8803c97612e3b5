sitegen.data("words/187",{});
