sitegen.data("words/121",{"word":[],"features":[]});
