sitegen.data("words/177",{"word":[],"features":[]});
