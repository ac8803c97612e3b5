sitegen.data("words/107",{"word":[],"features":[]});
