sitegen.data("words/216",{"word":["would"],"features":[[0,1,1,1,2,8]]});
