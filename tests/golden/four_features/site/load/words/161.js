sitegen.data("words/161",{"word":[],"features":[]});
