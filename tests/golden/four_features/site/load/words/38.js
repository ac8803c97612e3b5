sitegen.data("words/38",{"again":[3,1]});
