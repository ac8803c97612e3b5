sitegen.data("words/171",{"value":[0,2],"values":[0,2,3,4]});
