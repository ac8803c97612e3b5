sitegen.data("words/224",{"word":[],"features":[]});
