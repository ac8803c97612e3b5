sitegen.data("words/240",{});
