sitegen.data("words/111",{"cried":[0,2]});
