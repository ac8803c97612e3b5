sitegen.data("words/115",{"e8":[1,1]});
