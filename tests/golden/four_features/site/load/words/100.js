sitegen.data("words/100",{"word":[],"features":[]});
