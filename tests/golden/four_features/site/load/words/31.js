sitegen.data("words/31",{"word":[],"features":[]});
