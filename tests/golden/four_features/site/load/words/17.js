sitegen.data("words/17",{"word":[],"features":[]});
