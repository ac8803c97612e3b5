sitegen.data("words/255",{"word":[],"features":[]});
