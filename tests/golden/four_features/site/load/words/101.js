sitegen.data("words/101",{"word":[],"features":[]});
