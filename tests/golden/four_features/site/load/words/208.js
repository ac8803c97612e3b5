sitegen.data("words/208",{"word":[],"features":[]});
