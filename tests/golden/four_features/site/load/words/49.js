sitegen.data("words/49",{"word":[],"features":[]});
