sitegen.data("words/89",{"word":[],"features":[]});
