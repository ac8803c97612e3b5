sitegen.data("words/29",{"96":[0,1,1,1]});
