sitegen.data("words/95",{"wörds":[1,1]});
