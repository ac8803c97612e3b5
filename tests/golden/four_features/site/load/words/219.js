sitegen.data("words/219",{"word":[],"features":[]});
