sitegen.data("words/221",{"word":[],"features":[]});
