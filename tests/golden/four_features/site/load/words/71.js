sitegen.data("words/71",{"word":[],"features":[]});
