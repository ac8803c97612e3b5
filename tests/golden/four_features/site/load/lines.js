sitegen.data("lines",{"before":[" in values:","<|BOS|>","","ain; he said"],"peak":["↩","oth",""," that"],"after":["→"," were","",""]});
