sitegen.data("words/161",{});
