sitegen.data("words/123",{"word":["total"],"features":[[0,1,1,1]]});
