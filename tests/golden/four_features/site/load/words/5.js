sitegen.data("words/5",{"word":[],"features":[]});
