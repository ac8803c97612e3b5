sitegen.data("words/244",{"word":[],"features":[]});
