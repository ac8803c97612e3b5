sitegen.data("words/134",{"word":[],"features":[]});
