sitegen.data("words/66",{"word":[],"features":[]});
