sitegen.data("words/137",{});
