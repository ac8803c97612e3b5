sitegen.data("words/249",{"word":[],"features":[]});
