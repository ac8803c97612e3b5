sitegen.data("words/44",{"word":["ame"],"features":[[1,1]]});
