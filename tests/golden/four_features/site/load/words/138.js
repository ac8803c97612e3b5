sitegen.data("words/138",{"word":[],"features":[]});
