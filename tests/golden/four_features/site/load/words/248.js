sitegen.data("words/248",{"word":[],"features":[]});
