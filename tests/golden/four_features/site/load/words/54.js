sitegen.data("words/54",{"word":[],"features":[]});
