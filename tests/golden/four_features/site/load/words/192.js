sitegen.data("words/192",{"word":[],"features":[]});
