sitegen.data("words/222",{"word":[],"features":[]});
