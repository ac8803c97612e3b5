sitegen.data("words/30",{"word":[],"features":[]});
