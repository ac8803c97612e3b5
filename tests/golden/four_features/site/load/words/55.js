sitegen.data("words/55",{"ri":[1,1],"righ":[3,1]});
