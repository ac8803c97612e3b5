sitegen.data("words/201",{"word":["fo","fold","for"],"features":[[0,1],[3,1],[3,1]]});
