sitegen.data("words/254",{"word":[],"features":[]});
