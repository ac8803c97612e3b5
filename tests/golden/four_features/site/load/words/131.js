sitegen.data("words/131",{"word":[],"features":[]});
