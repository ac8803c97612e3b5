sitegen.data("words/53",{"word":[],"features":[]});
