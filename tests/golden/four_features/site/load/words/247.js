sitegen.data("words/247",{"word":[],"features":[]});
