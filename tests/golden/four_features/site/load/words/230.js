sitegen.data("words/230",{"word":["out"],"features":[[0,1]]});
