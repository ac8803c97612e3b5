sitegen.data("words/248",{"a9":[1,1]});
