sitegen.data("words/63",{"word":[],"features":[]});
