sitegen.data("words/72",{"word":[],"features":[]});
