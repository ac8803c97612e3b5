sitegen.data("words/160",{});
