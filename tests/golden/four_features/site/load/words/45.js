sitegen.data("words/45",{"word":["and"],"features":[[1,1]]});
