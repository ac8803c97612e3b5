sitegen.data("words/16",{"word":[],"features":[]});
