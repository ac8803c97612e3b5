sitegen.data("words/127",{"word":[],"features":[]});
