sitegen.data("words/254",{});
