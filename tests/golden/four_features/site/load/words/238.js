sitegen.data("words/238",{"word":[],"features":[]});
