sitegen.data("words/234",{"word":[],"features":[]});
