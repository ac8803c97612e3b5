sitegen.data("words/76",{"9e":[1,1]});
