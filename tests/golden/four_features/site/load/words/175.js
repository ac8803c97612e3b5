sitegen.data("words/175",{"word":[],"features":[]});
