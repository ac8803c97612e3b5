sitegen.data("words/118",{"word":[],"features":[]});
