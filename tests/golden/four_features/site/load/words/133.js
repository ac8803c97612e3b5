sitegen.data("words/133",{"word":[],"features":[]});
