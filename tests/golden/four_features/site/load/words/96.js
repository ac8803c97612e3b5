sitegen.data("words/96",{"word":[],"features":[]});
