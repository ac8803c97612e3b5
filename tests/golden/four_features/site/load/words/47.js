sitegen.data("words/47",{"rain":[1,1]});
