sitegen.data("words/181",{});
