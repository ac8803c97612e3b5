sitegen.data("words/68",{"word":[],"features":[]});
