sitegen.data("words/91",{"word":[],"features":[]});
