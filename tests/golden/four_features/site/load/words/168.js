sitegen.data("words/168",{"word":[],"features":[]});
