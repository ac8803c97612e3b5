sitegen.data("words/188",{"62":[3,1]});
