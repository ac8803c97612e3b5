sitegen.data("words/143",{});
