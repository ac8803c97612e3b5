sitegen.data("words/189",{"word":[],"features":[]});
