sitegen.data("words/192",{});
