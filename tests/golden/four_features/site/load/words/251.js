sitegen.data("words/251",{});
