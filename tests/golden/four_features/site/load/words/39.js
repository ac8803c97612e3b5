sitegen.data("words/39",{});
