sitegen.data("words/204",{"word":["from"],"features":[[0,2]]});
