sitegen.data("words/26",{"word":[],"features":[]});
