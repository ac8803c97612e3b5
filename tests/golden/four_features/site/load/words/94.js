sitegen.data("words/94",{"cast":[0,1,3,1]});
