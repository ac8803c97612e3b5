sitegen.data("words/109",{"word":["tart"],"features":[[0,1]]});
