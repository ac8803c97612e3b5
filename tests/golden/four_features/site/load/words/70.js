sitegen.data("words/70",{"word":[],"features":[]});
