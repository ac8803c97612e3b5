sitegen.data("words/206",{"word":["were"],"features":[[0,1,1,1,2,2]]});
