sitegen.data("words/109",{"tart":[0,1]});
