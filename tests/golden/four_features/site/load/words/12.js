sitegen.data("words/12",{"word":[],"features":[]});
