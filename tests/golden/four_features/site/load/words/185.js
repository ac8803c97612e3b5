sitegen.data("words/185",{"word":["votes"],"features":[[3,1]]});
