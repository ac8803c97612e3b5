sitegen.data("words/173",{"ere":[3,1]});
