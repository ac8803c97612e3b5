sitegen.data("words/149",{"word":[],"features":[]});
