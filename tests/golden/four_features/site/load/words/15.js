sitegen.data("words/15",{"word":[],"features":[]});
