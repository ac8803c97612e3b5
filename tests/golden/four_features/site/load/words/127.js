sitegen.data("words/127",{});
