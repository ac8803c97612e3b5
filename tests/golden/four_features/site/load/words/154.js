sitegen.data("words/154",{});
