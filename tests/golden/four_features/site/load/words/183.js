sitegen.data("words/183",{"word":["near"],"features":[[1,1,2,1]]});
