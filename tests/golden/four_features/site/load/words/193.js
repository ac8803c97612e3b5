sitegen.data("words/193",{"word":[],"features":[]});
