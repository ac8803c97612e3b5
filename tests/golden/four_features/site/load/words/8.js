sitegen.data("words/8",{"word":[],"features":[]});
