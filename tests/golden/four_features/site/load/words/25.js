sitegen.data("words/25",{"word":[],"features":[]});
