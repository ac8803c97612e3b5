sitegen.data("words/197",{"word":[],"features":[]});
