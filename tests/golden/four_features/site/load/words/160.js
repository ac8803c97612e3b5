sitegen.data("words/160",{"word":[],"features":[]});
