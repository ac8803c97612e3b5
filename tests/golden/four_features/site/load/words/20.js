sitegen.data("words/20",{"word":[],"features":[]});
