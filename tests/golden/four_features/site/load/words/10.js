sitegen.data("words/10",{"word":[],"features":[]});
