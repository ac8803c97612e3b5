sitegen.data("words/141",{"word":[],"features":[]});
