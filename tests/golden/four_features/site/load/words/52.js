sitegen.data("words/52",{"word":[],"features":[]});
