sitegen.data("words/167",{"word":[],"features":[]});
