sitegen.data("words/126",{"word":[],"features":[]});
