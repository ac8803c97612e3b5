sitegen.data("words/156",{"word":[],"features":[]});
