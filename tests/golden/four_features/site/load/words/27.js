sitegen.data("words/27",{"word":[],"features":[]});
