sitegen.data("words/143",{"word":[],"features":[]});
