sitegen.data("words/87",{"word":[],"features":[]});
