sitegen.data("words/234",{});
