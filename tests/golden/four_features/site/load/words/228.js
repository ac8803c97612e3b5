sitegen.data("words/228",{"word":[],"features":[]});
