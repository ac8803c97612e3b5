sitegen.data("words/217",{"word":["の文"],"features":[[1,1]]});
