sitegen.data("words/40",{"ain":[3,2]});
