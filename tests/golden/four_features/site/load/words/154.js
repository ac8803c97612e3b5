sitegen.data("words/154",{"word":[],"features":[]});
