sitegen.data("words/145",{"word":[],"features":[]});
