sitegen.data("words/213",{"word":[],"features":[]});
