sitegen.data("words/57",{"文章":[0,1,1,4]});
