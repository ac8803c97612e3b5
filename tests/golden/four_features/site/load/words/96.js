sitegen.data("words/96",{});
