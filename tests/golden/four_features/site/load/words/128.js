sitegen.data("words/128",{});
