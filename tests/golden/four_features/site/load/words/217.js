sitegen.data("words/217",{"の文":[1,1]});
