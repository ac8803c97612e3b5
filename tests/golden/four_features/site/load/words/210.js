sitegen.data("words/210",{"word":[],"features":[]});
