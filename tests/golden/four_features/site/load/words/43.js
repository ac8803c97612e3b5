sitegen.data("words/43",{"it":[0,1,3,9]});
