sitegen.data("words/239",{"word":[],"features":[]});
