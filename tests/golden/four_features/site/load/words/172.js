sitegen.data("words/172",{});
