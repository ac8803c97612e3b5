sitegen.data("words/0",{"word":[],"features":[]});
