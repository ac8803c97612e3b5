sitegen.data("words/196",{"word":[],"features":[]});
