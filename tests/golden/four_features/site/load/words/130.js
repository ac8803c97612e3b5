sitegen.data("words/130",{"word":[],"features":[]});
