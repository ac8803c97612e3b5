sitegen.data("words/106",{});
