sitegen.data("words/43",{"word":["it"],"features":[[0,1,3,9]]});
