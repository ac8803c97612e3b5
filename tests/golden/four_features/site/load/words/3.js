sitegen.data("words/3",{"word":[],"features":[]});
