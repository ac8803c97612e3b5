sitegen.data("words/206",{"were":[0,1,1,1,2,2]});
