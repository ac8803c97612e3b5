sitegen.data("words/186",{"word":[],"features":[]});
