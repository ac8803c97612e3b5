sitegen.data("words/182",{"word":[],"features":[]});
