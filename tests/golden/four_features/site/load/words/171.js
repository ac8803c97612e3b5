sitegen.data("words/171",{"word":["value","values"],"features":[[0,2],[0,2,3,4]]});
