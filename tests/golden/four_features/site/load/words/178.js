sitegen.data("words/178",{"word":[],"features":[]});
