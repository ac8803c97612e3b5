sitegen.data("words/36",{"ae":[0,1,1,5]});
