sitegen.data("words/88",{"word":[],"features":[]});
