sitegen.data("words/198",{"word":[],"features":[]});
