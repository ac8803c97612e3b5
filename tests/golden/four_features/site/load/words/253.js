sitegen.data("words/253",{"word":["he"],"features":[[3,2]]});
