sitegen.data("words/112",{"word":[],"features":[]});
