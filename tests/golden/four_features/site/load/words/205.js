sitegen.data("words/205",{"word":[],"features":[]});
