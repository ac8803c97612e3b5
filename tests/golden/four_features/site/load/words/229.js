sitegen.data("words/229",{"oth":[1,1],"other":[1,1]});
