sitegen.data("words/214",{"word":[],"features":[]});
