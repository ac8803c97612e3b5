sitegen.data("words/245",{});
