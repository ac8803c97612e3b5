sitegen.data("words/236",{});
