sitegen.data("words/48",{"word":[],"features":[]});
