sitegen.data("words/104",{"word":[],"features":[]});
