sitegen.data("words/216",{"would":[0,1,1,1,2,8]});
