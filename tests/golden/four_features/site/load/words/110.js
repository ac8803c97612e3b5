sitegen.data("words/110",{"word":[],"features":[]});
