sitegen.data("words/207",{});
