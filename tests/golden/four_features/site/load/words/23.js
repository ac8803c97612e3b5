sitegen.data("words/23",{"word":[],"features":[]});
