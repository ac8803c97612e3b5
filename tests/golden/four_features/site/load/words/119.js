sitegen.data("words/119",{"word":[],"features":[]});
