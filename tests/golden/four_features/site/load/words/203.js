sitegen.data("words/203",{"word":[],"features":[]});
