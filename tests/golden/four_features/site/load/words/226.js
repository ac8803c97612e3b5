sitegen.data("words/226",{"word":[],"features":[]});
