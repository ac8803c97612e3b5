sitegen.data("words/75",{"word":[],"features":[]});
