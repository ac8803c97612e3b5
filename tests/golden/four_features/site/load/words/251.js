sitegen.data("words/251",{"word":[],"features":[]});
