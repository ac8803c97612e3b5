sitegen.data("words/114",{"e7":[1,2]});
