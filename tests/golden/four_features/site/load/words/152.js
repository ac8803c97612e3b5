sitegen.data("words/152",{"word":["men"],"features":[[0,2]]});
