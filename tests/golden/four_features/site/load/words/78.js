sitegen.data("words/78",{"said":[0,1,3,10]});
