sitegen.data("words/153",{"word":[],"features":[]});
