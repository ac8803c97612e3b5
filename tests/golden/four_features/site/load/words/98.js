sitegen.data("words/98",{"word":[],"features":[]});
