sitegen.data("words/84",{"word":["ïcöd"],"features":[[0,1]]});
