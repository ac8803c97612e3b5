sitegen.data("words/169",{"word":[],"features":[]});
