sitegen.data("words/144",{"word":["語の"],"features":[[0,1]]});
