sitegen.data("words/165",{"word":[],"features":[]});
