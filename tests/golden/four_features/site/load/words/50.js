sitegen.data("words/50",{"assert":[0,1,1,1],"rds":[1,1]});
