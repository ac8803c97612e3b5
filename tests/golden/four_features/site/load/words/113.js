sitegen.data("words/113",{"word":[],"features":[]});
