sitegen.data("words/164",{"word":[],"features":[]});
