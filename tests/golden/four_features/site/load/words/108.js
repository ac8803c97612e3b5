sitegen.data("words/108",{"word":[],"features":[]});
