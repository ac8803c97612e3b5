sitegen.data("words/151",{"word":[],"features":[]});
