sitegen.data("words/34",{"ac":[0,1]});
