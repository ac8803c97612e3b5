sitegen.data("words/78",{"word":["said"],"features":[[0,1,3,10]]});
