sitegen.data("words/183",{"near":[1,1,2,1]});
