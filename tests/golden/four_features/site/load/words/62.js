sitegen.data("words/62",{"word":[],"features":[]});
