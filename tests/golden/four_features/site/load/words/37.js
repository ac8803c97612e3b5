sitegen.data("words/37",{"word":["in"],"features":[[0,2]]});
