sitegen.data("words/146",{"word":[],"features":[]});
