sitegen.data("words/185",{"votes":[3,1]});
