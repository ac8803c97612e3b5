sitegen.data("words/236",{"word":[],"features":[]});
