sitegen.data("words/35",{"word":[],"features":[]});
