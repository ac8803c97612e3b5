sitegen.data("words/158",{});
