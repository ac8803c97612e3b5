sitegen.data("words/79",{"word":[],"features":[]});
