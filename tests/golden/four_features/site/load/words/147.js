sitegen.data("words/147",{"word":[],"features":[]});
