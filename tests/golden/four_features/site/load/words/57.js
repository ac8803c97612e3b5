sitegen.data("words/57",{"word":["文章"],"features":[[0,1,1,4]]});
