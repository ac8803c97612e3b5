sitegen.data("words/61",{"ro":[1,1],"rose":[0,2]});
