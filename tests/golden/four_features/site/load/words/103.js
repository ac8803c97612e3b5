sitegen.data("words/103",{"word":[],"features":[]});
