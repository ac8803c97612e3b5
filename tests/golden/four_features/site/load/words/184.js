sitegen.data("words/184",{"word":[],"features":[]});
