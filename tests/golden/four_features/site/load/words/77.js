sitegen.data("words/77",{"bos":[0,1,1,3],"both":[3,1]});
