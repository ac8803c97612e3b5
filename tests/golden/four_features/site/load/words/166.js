sitegen.data("words/166",{"word":[],"features":[]});
