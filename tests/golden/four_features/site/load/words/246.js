sitegen.data("words/246",{"word":[],"features":[]});
