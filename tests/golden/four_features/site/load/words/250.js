sitegen.data("words/250",{});
