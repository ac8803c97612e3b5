sitegen.data("words/99",{"word":[],"features":[]});
