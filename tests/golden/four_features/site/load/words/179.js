sitegen.data("words/179",{"word":["ext"],"features":[[0,1]]});
