sitegen.data("words/73",{"word":[],"features":[]});
