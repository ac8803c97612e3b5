sitegen.data("words/113",{"e6":[0,1]});
