sitegen.data("words/80",{"scrip":[1,1]});
