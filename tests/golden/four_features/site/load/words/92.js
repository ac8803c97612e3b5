sitegen.data("words/92",{"word":[],"features":[]});
