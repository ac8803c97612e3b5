sitegen.data("words/239",{});
