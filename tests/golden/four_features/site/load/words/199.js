sitegen.data("words/199",{});
