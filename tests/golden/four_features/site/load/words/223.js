sitegen.data("words/223",{"word":[],"features":[]});
