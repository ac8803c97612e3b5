sitegen.data("words/101",{});
