sitegen.data("words/82",{"word":[],"features":[]});
