sitegen.data("words/22",{"word":[],"features":[]});
