sitegen.data("words/29",{"word":[],"features":[]});
