sitegen.data("words/95",{"word":["wörds"],"features":[[1,1]]});
