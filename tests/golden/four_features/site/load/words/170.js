sitegen.data("words/170",{});
