sitegen.data("words/231",{"日本":[1,1]});
