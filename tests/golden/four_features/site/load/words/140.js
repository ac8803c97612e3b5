sitegen.data("words/140",{"word":[],"features":[]});
