sitegen.data("words/88",{});
