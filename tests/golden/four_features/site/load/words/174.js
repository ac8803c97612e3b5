sitegen.data("words/174",{"es":[0,1]});
