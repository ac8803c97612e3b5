sitegen.data("words/83",{"word":[],"features":[]});
