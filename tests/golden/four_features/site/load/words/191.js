sitegen.data("words/191",{"word":[],"features":[]});
