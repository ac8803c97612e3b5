sitegen.data("words/81",{"word":[],"features":[]});
