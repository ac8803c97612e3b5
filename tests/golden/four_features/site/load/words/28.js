sitegen.data("words/28",{"word":[],"features":[]});
