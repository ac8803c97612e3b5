sitegen.data("words/225",{"word":["ght"],"features":[[1,1]]});
