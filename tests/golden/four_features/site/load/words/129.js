sitegen.data("words/129",{"word":["def"],"features":[[0,2,3,1]]});
