sitegen.data("words/203",{});
