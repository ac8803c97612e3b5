sitegen.data("words/41",{"word":[],"features":[]});
