sitegen.data("words/173",{"word":["ere"],"features":[[3,1]]});
