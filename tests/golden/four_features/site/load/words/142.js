sitegen.data("words/142",{"word":[],"features":[]});
