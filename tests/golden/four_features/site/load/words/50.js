sitegen.data("words/50",{"word":["assert","rds"],"features":[[0,1,1,1],[1,1]]});
