sitegen.data("words/167",{});
