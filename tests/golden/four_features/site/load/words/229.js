sitegen.data("words/229",{"word":["oth","other"],"features":[[1,1],[1,1]]});
