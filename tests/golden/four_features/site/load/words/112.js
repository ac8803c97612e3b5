sitegen.data("words/112",{});
