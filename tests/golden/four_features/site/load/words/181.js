sitegen.data("words/181",{"word":[],"features":[]});
