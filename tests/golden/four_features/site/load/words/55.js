sitegen.data("words/55",{"word":["ri","righ"],"features":[[1,1],[3,1]]});
