sitegen.data("words/157",{"word":[],"features":[]});
