sitegen.data("words/117",{"word":[],"features":[]});
