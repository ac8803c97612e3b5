sitegen.data("words/4",{"word":[],"features":[]});
