sitegen.data("words/65",{"nïcödé":[0,2]});
