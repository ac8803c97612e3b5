sitegen.data("words/199",{"word":[],"features":[]});
