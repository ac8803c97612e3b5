sitegen.data("words/214",{});
