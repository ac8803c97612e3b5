sitegen.data("words/123",{"total":[0,1,1,1]});
