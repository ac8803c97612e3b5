sitegen.data("words/207",{"word":[],"features":[]});
