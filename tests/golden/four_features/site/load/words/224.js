sitegen.data("words/224",{});
