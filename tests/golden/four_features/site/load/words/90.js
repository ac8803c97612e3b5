sitegen.data("words/90",{"word":[],"features":[]});
