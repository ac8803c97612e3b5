sitegen.data("words/80",{"word":["scrip"],"features":[[1,1]]});
