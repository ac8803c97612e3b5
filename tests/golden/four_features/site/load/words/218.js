sitegen.data("words/218",{"word":[],"features":[]});
