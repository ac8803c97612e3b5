sitegen.data("words/162",{});
