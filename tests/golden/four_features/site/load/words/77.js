sitegen.data("words/77",{"word":["both"],"features":[[3,1]]});
