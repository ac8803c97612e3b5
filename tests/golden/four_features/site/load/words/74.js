sitegen.data("words/74",{"word":[],"features":[]});
