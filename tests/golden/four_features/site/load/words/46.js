sitegen.data("words/46",{"word":[],"features":[]});
