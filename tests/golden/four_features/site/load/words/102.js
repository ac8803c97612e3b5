sitegen.data("words/102",{"word":[],"features":[]});
