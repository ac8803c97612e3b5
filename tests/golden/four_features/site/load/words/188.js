sitegen.data("words/188",{"word":["62"],"features":[[3,1]]});
