sitegen.data("words/69",{"word":["277"],"features":[[0,1]]});
