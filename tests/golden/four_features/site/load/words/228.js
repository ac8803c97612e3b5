sitegen.data("words/228",{});
