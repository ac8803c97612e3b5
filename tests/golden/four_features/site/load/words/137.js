sitegen.data("words/137",{"word":[],"features":[]});
