sitegen.data("words/129",{"def":[0,2,3,1]});
