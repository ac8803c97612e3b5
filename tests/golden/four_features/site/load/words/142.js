sitegen.data("words/142",{});
