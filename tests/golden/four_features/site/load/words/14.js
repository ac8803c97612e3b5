sitegen.data("words/14",{"word":[],"features":[]});
