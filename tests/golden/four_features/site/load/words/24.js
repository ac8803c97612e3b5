sitegen.data("words/24",{});
