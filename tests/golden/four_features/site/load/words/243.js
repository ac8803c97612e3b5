sitegen.data("words/243",{"word":[],"features":[]});
