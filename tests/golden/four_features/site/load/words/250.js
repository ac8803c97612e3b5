sitegen.data("words/250",{"word":[],"features":[]});
