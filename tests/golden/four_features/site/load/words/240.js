sitegen.data("words/240",{"word":[],"features":[]});
