sitegen.data("words/86",{"word":[],"features":[]});
