sitegen.data("words/18",{"word":[],"features":[]});
