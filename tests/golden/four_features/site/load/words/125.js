sitegen.data("words/125",{"word":["lin"],"features":[[1,1]]});
