sitegen.data("words/235",{"word":[],"features":[]});
