sitegen.data("words/45",{"and":[1,1]});
