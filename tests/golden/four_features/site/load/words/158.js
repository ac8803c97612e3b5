sitegen.data("words/158",{"word":[],"features":[]});
