sitegen.data("words/116",{"that":[0,1,3,10],"the":[1,1,2,1]});
