sitegen.data("words/42",{"word":[],"features":[]});
