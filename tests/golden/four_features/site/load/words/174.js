sitegen.data("words/174",{"word":["es"],"features":[[0,1]]});
