sitegen.data("words/252",{"word":[],"features":[]});
