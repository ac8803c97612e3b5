sitegen.data("words/146",{});
