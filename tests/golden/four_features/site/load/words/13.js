sitegen.data("words/13",{"word":[],"features":[]});
