sitegen.data("words/139",{});
