sitegen.data("words/225",{"ght":[1,1]});
