sitegen.data("words/233",{});
