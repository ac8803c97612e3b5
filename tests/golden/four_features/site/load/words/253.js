sitegen.data("words/253",{"he":[3,2]});
