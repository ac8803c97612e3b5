sitegen.data("words/165",{});
