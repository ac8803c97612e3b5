sitegen.data("words/105",{});
