sitegen.data("words/94",{"word":["cast"],"features":[[0,1,3,1]]});
