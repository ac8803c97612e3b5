sitegen.data("words/135",{"word":[],"features":[]});
