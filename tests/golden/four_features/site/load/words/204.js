sitegen.data("words/204",{"from":[0,2]});
