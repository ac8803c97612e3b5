sitegen.data("words/201",{"fo":[0,1],"fold":[3,1],"for":[3,1]});
