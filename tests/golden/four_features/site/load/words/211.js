sitegen.data("words/211",{"word":[],"features":[]});
