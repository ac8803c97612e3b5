sitegen.data("words/92",{});
