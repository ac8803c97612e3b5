sitegen.data("words/65",{"word":["nïcödé"],"features":[[0,2]]});
