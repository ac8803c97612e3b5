sitegen.data("words/116",{"word":["that","the"],"features":[[0,1,3,10],[1,1,2,1]]});
