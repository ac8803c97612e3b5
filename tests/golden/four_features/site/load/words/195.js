sitegen.data("words/195",{"word":[],"features":[]});
