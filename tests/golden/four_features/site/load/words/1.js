sitegen.data("words/1",{"word":[],"features":[]});
