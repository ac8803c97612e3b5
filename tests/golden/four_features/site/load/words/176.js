sitegen.data("words/176",{"word":[],"features":[]});
