sitegen.data("words/141",{});
