sitegen.data("words/59",{"word":[],"features":[]});
