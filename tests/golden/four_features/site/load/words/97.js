sitegen.data("words/97",{"start":[0,2,3,3]});
