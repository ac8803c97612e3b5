sitegen.data("words/126",{});
