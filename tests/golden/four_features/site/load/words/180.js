sitegen.data("words/180",{"word":[],"features":[]});
