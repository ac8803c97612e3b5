sitegen.data("words/245",{"word":[],"features":[]});
