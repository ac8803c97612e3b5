sitegen.data("words/44",{"ame":[1,1]});
