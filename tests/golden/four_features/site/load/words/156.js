sitegen.data("words/156",{});
