sitegen.data("words/105",{"word":[],"features":[]});
