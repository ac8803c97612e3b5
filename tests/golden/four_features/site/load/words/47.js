sitegen.data("words/47",{"word":["rain"],"features":[[1,1]]});
