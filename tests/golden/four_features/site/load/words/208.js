sitegen.data("words/208",{});
