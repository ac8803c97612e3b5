sitegen.data("words/33",{"word":[],"features":[]});
