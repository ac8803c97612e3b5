sitegen.data("words/232",{"word":[],"features":[]});
