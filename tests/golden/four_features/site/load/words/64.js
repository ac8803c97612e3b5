sitegen.data("words/64",{"word":[],"features":[]});
