sitegen.data("words/7",{"word":[],"features":[]});
