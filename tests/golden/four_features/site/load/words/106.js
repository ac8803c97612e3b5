sitegen.data("words/106",{"word":[],"features":[]});
