sitegen.data("words/180",{});
