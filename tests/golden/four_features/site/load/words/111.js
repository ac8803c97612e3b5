sitegen.data("words/111",{"word":["cried"],"features":[[0,2]]});
