sitegen.data("words/39",{"word":[],"features":[]});
