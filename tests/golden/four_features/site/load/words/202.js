sitegen.data("words/202",{"word":["was"],"features":[[1,1,2,1]]});
