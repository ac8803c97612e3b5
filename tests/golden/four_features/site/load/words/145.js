sitegen.data("words/145",{});
