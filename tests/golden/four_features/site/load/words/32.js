sitegen.data("words/32",{"word":[],"features":[]});
