sitegen.data("words/38",{"word":["again"],"features":[[3,1]]});
