sitegen.data("words/200",{"word":[],"features":[]});
