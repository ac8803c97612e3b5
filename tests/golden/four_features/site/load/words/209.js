sitegen.data("words/209",{"whale":[1,1,2,1]});
