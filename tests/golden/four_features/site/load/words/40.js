sitegen.data("words/40",{"word":["ain"],"features":[[3,2]]});
