sitegen.data("words/231",{"word":["日本"],"features":[[1,1]]});
