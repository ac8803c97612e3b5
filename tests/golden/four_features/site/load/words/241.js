sitegen.data("words/241",{"word":[],"features":[]});
