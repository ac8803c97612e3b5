sitegen.data("words/215",{"word":[],"features":[]});
