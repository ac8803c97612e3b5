sitegen.data("words/36",{"word":[],"features":[]});
