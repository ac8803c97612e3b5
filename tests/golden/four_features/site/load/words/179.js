sitegen.data("words/179",{"ext":[0,1]});
