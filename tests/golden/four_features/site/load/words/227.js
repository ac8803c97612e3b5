sitegen.data("words/227",{"word":[],"features":[]});
