sitegen.data("words/61",{"word":["ro","rose"],"features":[[1,1],[0,2]]});
