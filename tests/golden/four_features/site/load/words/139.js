sitegen.data("words/139",{"word":[],"features":[]});
