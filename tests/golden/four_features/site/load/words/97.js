sitegen.data("words/97",{"word":["start"],"features":[[0,2,3,3]]});
