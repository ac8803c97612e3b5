sitegen.data("words/85",{"word":["she"],"features":[[0,1,3,6]]});
