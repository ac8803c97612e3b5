sitegen.data("words/128",{"word":[],"features":[]});
