sitegen.data("words/220",{"word":[],"features":[]});
