sitegen.data("words/115",{"word":[],"features":[]});
