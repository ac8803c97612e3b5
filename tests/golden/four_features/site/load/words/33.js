sitegen.data("words/33",{"ab":[1,2]});
