sitegen.data("words/60",{"word":[],"features":[]});
