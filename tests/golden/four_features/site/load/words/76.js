sitegen.data("words/76",{"word":[],"features":[]});
