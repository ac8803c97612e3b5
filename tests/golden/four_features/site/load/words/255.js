sitegen.data("words/255",{"87":[1,1]});
