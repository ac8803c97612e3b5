sitegen.data("words/67",{"word":[],"features":[]});
