sitegen.data("words/202",{"was":[1,1,2,1]});
