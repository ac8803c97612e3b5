sitegen.data("words/24",{"word":[],"features":[]});
