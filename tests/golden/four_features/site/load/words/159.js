sitegen.data("words/159",{"word":[],"features":[]});
