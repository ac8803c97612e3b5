sitegen.data("words/233",{"word":[],"features":[]});
