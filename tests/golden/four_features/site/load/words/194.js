sitegen.data("words/194",{"word":[],"features":[]});
