sitegen.data("words/132",{"word":[],"features":[]});
