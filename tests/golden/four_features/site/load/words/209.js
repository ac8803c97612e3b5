sitegen.data("words/209",{"word":["whale"],"features":[[1,1,2,1]]});
