sitegen.data("words/211",{});
