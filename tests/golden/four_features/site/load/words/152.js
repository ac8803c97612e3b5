sitegen.data("words/152",{"men":[0,2]});
