sitegen.data("words/120",{"word":[],"features":[]});
