sitegen.data("words/34",{"word":[],"features":[]});
