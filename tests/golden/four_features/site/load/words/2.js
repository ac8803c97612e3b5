sitegen.data("words/2",{"word":[],"features":[]});
