sitegen.data("words/150",{"word":[],"features":[]});
