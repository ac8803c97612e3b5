sitegen.data("words/170",{"word":[],"features":[]});
