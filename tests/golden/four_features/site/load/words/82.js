sitegen.data("words/82",{});
