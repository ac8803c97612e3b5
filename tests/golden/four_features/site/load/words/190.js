sitegen.data("words/190",{"word":[],"features":[]});
