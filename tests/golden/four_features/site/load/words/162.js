sitegen.data("words/162",{"word":[],"features":[]});
