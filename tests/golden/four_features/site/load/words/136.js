sitegen.data("words/136",{"word":[],"features":[]});
