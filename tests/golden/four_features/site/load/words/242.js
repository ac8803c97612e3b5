sitegen.data("words/242",{"word":[],"features":[]});
