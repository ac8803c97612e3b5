sitegen.data("words/213",{});
