sitegen.data("words/187",{"word":[],"features":[]});
