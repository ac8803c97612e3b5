sitegen.data("words/11",{"word":[],"features":[]});
