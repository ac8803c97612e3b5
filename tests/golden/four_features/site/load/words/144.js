sitegen.data("words/144",{"語の":[0,1]});
