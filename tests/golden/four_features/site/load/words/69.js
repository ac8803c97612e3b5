sitegen.data("words/69",{"277":[0,1]});
