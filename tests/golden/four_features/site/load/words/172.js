sitegen.data("words/172",{"word":[],"features":[]});
