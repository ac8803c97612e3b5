sitegen.data("words/19",{"word":[],"features":[]});
