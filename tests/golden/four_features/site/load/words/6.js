sitegen.data("words/6",{"word":[],"features":[]});
