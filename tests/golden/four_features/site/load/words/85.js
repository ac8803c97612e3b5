sitegen.data("words/85",{"she":[0,1,3,6]});
