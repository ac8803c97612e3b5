sitegen.data("words/155",{"word":[],"features":[]});
