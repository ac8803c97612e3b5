sitegen.data("words/93",{"30":[3,1]});
