sitegen.data("words/125",{"lin":[1,1]});
