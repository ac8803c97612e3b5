sitegen.data("words/122",{"word":[],"features":[]});
