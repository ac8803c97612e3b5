sitegen.data("words/232",{});
