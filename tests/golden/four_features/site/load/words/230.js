sitegen.data("words/230",{"out":[0,1]});
