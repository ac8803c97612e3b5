sitegen.data("words/249",{"81":[1,4]});
