sitegen.data("words/163",{"word":[],"features":[]});
