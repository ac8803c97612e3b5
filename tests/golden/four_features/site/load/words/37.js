sitegen.data("words/37",{"in":[0,2]});
