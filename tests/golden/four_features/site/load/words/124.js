sitegen.data("words/124",{"word":[],"features":[]});
