sitegen.data("words/212",{"word":[],"features":[]});
