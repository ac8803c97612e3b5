sitegen.data("words/21",{"word":[],"features":[]});
