sitegen.data("words/84",{"ïcöd":[0,1]});
