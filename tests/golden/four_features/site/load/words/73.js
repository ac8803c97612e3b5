sitegen.data("words/73",{});
