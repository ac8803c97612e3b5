sitegen.data("words/93",{"word":["30"],"features":[[3,1]]});
