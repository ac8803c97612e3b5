sitegen.data("words/9",{"word":[],"features":[]});
