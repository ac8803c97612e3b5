sitegen.data("words/168",{});
