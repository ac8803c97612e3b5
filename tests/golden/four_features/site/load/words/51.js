sitegen.data("words/51",{"word":[],"features":[]});
