sitegen.data("words/58",{"word":[],"features":[]});
