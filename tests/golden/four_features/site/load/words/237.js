sitegen.data("words/237",{"word":[],"features":[]});
