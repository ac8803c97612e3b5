sitegen.data("words/223",{});
