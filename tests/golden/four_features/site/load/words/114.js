sitegen.data("words/114",{"word":[],"features":[]});
