sitegen.data("words/56",{"word":[],"features":[]});
