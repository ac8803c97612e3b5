sitegen.data("words/148",{"word":[],"features":[]});
